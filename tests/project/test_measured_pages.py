"""Pages that a measurement writes say what its committed record says."""

import json

import pytest

from tests.programs.benchmarks import page as performance
from tests.programs.measurements import scaling_page as scaling
from tests.programs.models import page as models


@pytest.mark.parametrize(
    "page", [performance, scaling, models], ids=["performance", "scaling", "models"]
)
def test_the_page_is_rendered_from_the_record(page):
    record = json.loads(page.RECORD.read_text(encoding="utf-8"))
    assert page.PAGE.read_text(encoding="utf-8") == page.render(record)
