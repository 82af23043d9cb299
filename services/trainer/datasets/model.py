"""What a check of a data set counts."""

from dataclasses import dataclass

from services.common.rows.model import DatasetFormat


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over a file; the fields of ``tenon.trainer.v1.DatasetStatistics``."""

    row_count: int = 0
    faulty_row_count: int = 0
    duplicate_row_count: int = 0
    answer_count: int = 0
    answer_characters: int = 0
    synthetic_row_count: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The last item of a check.

    Attributes:
        format: the format given or detected; None where no row told it.
        statistics: counts over the rows.
        fault_count: faults reported, of rows and of the file.
    """

    format: DatasetFormat | None
    statistics: Statistics
    fault_count: int

    @property
    def is_empty(self) -> bool:
        """Whether the file held no row at all, good or faulty."""
        return self.statistics.row_count == 0 and self.statistics.faulty_row_count == 0
