"""Pages of one file: no script, nothing from elsewhere, and everything in them is escaped."""

from keyhinge_cli._html._report import report_page
from keyhinge_cli._html._status import status_page

__all__ = ["report_page", "status_page"]
