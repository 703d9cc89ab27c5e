"""What a run will do: the profile, the prompts and the plan of stages, batches and keys. No torch."""
