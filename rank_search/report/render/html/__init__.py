"""A report as one page for a browser, that needs nothing but itself."""

from rank_search.report.render.html.page import html_page
from rank_search.report.render.html.write_html import write_html, write_page

__all__ = ["html_page", "write_html", "write_page"]
