"""Pages of a report: one HTML file with nothing outside it."""

from tf_gradvar.pages.document import (
    MINUS,
    PERCENT,
    Code,
    Gallery,
    Markup,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Terms,
    Text,
    findings_parts,
)
from tf_gradvar.pages.page import page

__all__ = [
    "MINUS",
    "PERCENT",
    "Code",
    "Gallery",
    "Markup",
    "Part",
    "Picture",
    "Report",
    "Section",
    "Table",
    "Terms",
    "Text",
    "findings_parts",
    "page",
]
