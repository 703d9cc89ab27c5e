"""The sections of the report, one module each: a chapter or page enters, Markdown blocks leave."""
