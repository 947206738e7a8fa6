"""What checks of a workspace say."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a finding."""

    REPAIRED = "repaired"
    REMAINS = "remains"
    NOTED = "noted"  # nothing is wrong with it


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, or worth knowing.

    Attributes:
        what: One clause.
        outcome: What became of it.
        hint: What to do next; may be empty.
    """

    what: str
    outcome: Outcome
    hint: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check.

    Attributes:
        name: What was checked, in the plural.
        examined: How many there were.
        findings: What was found.
    """

    name: str
    examined: int
    findings: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing wrong remains."""
        return all(finding.outcome is not Outcome.REMAINS for finding in self.findings)
