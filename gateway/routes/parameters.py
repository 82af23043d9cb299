"""Parts of paths that routes of several resources share, as they are described."""

from typing import Annotated

from fastapi import Path

FileId = Annotated[str, Path(description="A file, by its id.", examples=["data-0f1e2d3c4b5a6978"])]
JobId = Annotated[str, Path(description="A job, by its id.", examples=["ftjob-0f1e2d3c4b5a6978"])]
ModelId = Annotated[
    str,
    Path(
        description="A base, an adapter, adapter:alias, adapter@version, or base/ID.",
        examples=["wukong", "wukong:stable", "base/qwen2-small"],
    ),
]
BaseModelId = Annotated[str, Path(description="A base, by its id.", examples=["qwen2-small"])]
AdapterId = Annotated[str, Path(description="An adapter, by its id.", examples=["wukong"])]
VersionId = Annotated[
    str,
    Path(
        description="A version, by its digest: 64 hex digits.",
        examples=["7c000a8cab371dfaaf9f28235de519554ac43902705393f04ba44561c54c2046"],
    ),
]
AliasId = Annotated[str, Path(description="An alias, by its id.", examples=["stable"])]
KeyId = Annotated[str, Path(description="A key, by its id.", examples=["key-4f0c1d2e3a5b"])]
ProjectId = Annotated[str, Path(description="A project, by its id.", examples=["web-shop"])]
