"""What OpenAI's API has and this one has not, with a sentence for each: clients shall not take it for a mistyped address."""

import re
from typing import Final

CODE: Final = "unsupported_endpoint"

_FILES: Final = "Files are data sets to train on: send them to /v1/files, whole."
_STATE: Final = "Nothing is kept between requests: send the whole conversation to /v1/chat/completions."
_SEARCH: Final = "There is no search here: put what the model should know into the conversation."
_TEXT: Final = "The models here read and write text."

_REFUSALS: Final[tuple[tuple[str, str], ...]] = (
    ("GET /chat/completions|[A-Z]+ /chat/completions/.+", f"Answers are not stored. {_STATE}"),
    ("[A-Z]+ /embeddings", "There are no embeddings: the models here are generative ones."),
    ("[A-Z]+ /moderations", "There is no moderation model."),
    ("[A-Z]+ /(audio|images|videos|realtime|live)(/.*)?", _TEXT),
    ("[A-Z]+ /(responses|conversations)(/.*)?", _STATE),
    ("[A-Z]+ /(assistants|threads|agents|chatkit|skills|containers|vaults)(/.*)?", f"No agents run here. {_STATE}"),
    ("[A-Z]+ /vector_stores(/.*)?", _SEARCH),
    ("[A-Z]+ /uploads(/.*)?", _FILES),
    ("[A-Z]+ /batches(/.*)?", "There are no batches: send the requests side by side; they are computed together."),
    ("[A-Z]+ /evals(/.*)?", "There are no evals; GET /v1/training_jobs/{id}/report says what a training taught."),
    ("[A-Z]+ /fine_tuning/alpha(/.*)?", "There are no graders: training is supervised."),
    ("[A-Z]+ /fine_tuning/checkpoints(/.*)?", "Checkpoints are not shared between projects."),
    (
        "[A-Z]+ /organization(/.*)?",
        "Projects and keys are at /v1/projects and /v1/api_keys, in Tenon's own shape.",
    ),
    (
        "[A-Z]+ /(decisions|safety|content_provenance_checks|webhook_endpoints|webhook_event_types)(/.*)?",
        "Nothing here does that.",
    ),
)
_KNOWN: Final = tuple((re.compile(pattern), sentence) for pattern, sentence in _REFUSALS)
_PREFIX: Final = "/v1"


def refusal(method: str, path: str) -> str | None:
    """The sentence for an endpoint of OpenAI's that is not here; None for any other address."""
    if not path.startswith(f"{_PREFIX}/"):
        return None
    asked = f"{method} {path.removeprefix(_PREFIX)}"
    sentence = next((sentence for pattern, sentence in _KNOWN if pattern.fullmatch(asked)), None)
    return None if sentence is None else f"Tenon has no {method} {path}. {sentence}"
