"""What is to be known of a method before it is used: where it comes from and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from rank_search.errors import PluginError

NEEDS = ("weights", "unlabelled", "labels", "training")
ORIGINS = ("faithful", "reconstruction", "ours")


@dataclass(frozen=True)
class About:
    """What ``rank-search list`` says of a searcher; empty where its author says nothing.

    Args:
        family: in a word or two, e.g. ``Bayesian``.
        needs: what it cannot do without: ``weights`` alone, ``unlabelled`` samples, ``labels`` (evaluations are
            labels), or ``training``.
        citation: of the published rule.
        origin: ``faithful`` to a published text or code, a ``reconstruction`` where parts of it are not public or had
            to be carried over to this rank space, or ``ours``.
    """

    family: str = ""
    needs: str = ""
    citation: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (("needs", NEEDS), ("origin", ORIGINS)):
            value = getattr(self, name)
            if value not in ("", *allowed):
                raise PluginError(f"about.{name}={value!r} is not allowed: it is one of {', '.join(allowed)}")
