"""The benchmark of the lint measures what it says, on files of a tenth of a megabyte."""

import argparse

import pytest

from benchmarks.lint import LAYOUTS, as_text, measure, parse_size


def test_sizes_are_read() -> None:
    assert [parse_size(text) for text in ("7", "50M", "1g")] == [7, 50_000_000, 1_000_000_000]
    for wrong in ("", "M", "1T", "-1", "1.5G"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_size(wrong)


@pytest.mark.parametrize("name", ["alpaca.json", "openai_chat.parquet"])
def test_a_file_is_written_and_checked(name: str) -> None:
    assert name in LAYOUTS
    found = measure(name, 100_000)
    assert found["rows"] == 1000
    assert found["megabytes"] >= 0.1
    assert found["duplicates"] > 0
    assert found["faults"] == 0
    assert found["mb_per_second"] > 0
    assert name in as_text({name: found})
