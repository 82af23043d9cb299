"""Training data: four row formats, read as streams, every fault reported with its line.

``check_dataset`` is the lint an upload goes through; ``read_conversations`` gives the recipe the rows of a file that has
passed it. Neither imports torch, and neither holds more of a file than one row.
"""

from services.common.rows.model import Conversation, DatasetFormat, Fault, Limits, Message, Role, TextPair
from services.trainer.datasets.check import UNLIMITED, check_dataset, good_rows, read_conversations
from services.trainer.datasets.model import Statistics, Summary

__all__ = [
    "UNLIMITED",
    "Conversation",
    "DatasetFormat",
    "Fault",
    "Limits",
    "Message",
    "Role",
    "Statistics",
    "Summary",
    "TextPair",
    "check_dataset",
    "good_rows",
    "read_conversations",
]
