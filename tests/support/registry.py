"""A registry for tests: samples of what it keeps, and the real servicers in this process."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.common.artifacts.connect import connect_store
from services.common.db import migrate_when_reachable, open_database
from services.common.identity import BaseFingerprint, LinearModule, TensorLeaf
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.common.rpc.server import RunningServer, running_server
from services.common.signing import TrustStore
from services.common.training_report import TrainingReport
from services.registry.__main__ import services
from services.registry.postgres import MIGRATIONS, SCHEMA, PostgresRegistryStore
from services.registry.settings import RegistrySettings
from tests.support.keys import trusted_key_file


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(weights: str = "weights", architecture: str = "Qwen2ForCausalLM") -> BaseFingerprint:
    """Return a complete fingerprint of a base of one matrix; other weights make another base."""
    name = "model.layers.0.self_attn.q_proj"
    return BaseFingerprint.of(
        architecture=architecture,
        config={"model_type": "qwen2", "hidden_size": 8, "rms_norm_eps": 1e-06},
        tensors=(TensorLeaf(f"{name}.weight", "F32", (8, 8), digest(weights)),),
        modules=(LinearModule(name, "Linear", 8, 8),),
        code_digest=None,
        tokenizer_digest=digest("tokenizer"),
        chat_template_digest=None,
        processor_digest=None,
        quantization=None,
    )


def file_of(path: str, content: bytes) -> ManifestFile:
    return ManifestFile(path, len(content), hashlib.sha256(content).hexdigest())


def manifest(
    files: tuple[ManifestFile, ...] = (file_of("adapter_config.json", b"{}"),),
    *,
    base: BaseFingerprint | None = None,
    base_model: str = "baseModels/tiny",
    job: str = "projects/default/trainingJobs/first",
    seed: int = 0,
    provenance: Provenance = Provenance.WITNESSED,
    report: TrainingReport | None = None,
) -> AdapterManifest:
    """Return a manifest; another seed makes another version."""
    return AdapterManifest(
        files=files,
        base_model=base_model,
        base=(base or fingerprint()).summary(),
        provenance=provenance,
        peft={"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]},
        chat_template=None,
        stop_token_ids=(2,),
        training={"job": job, "seed": seed} | ({"report": report.to_json()} if report else {}),
    )


def registry_settings(database_url: str, artifacts: Path) -> RegistrySettings:
    """Return settings for a registry on a free port."""
    return RegistrySettings(
        listen="127.0.0.1:0",
        database_url=database_url,
        artifacts_url=artifacts.as_uri(),
        trusted_keys=(trusted_key_file(artifacts.parent),),
        drain_seconds=1,
    )


@asynccontextmanager
async def running_registry(settings: RegistrySettings) -> AsyncIterator[RunningServer]:
    """Serve the registry in this process, as its composition root puts it together."""
    async with open_database(settings, application_name="tenon-registry") as database:
        await migrate_when_reachable(database, SCHEMA, MIGRATIONS)
        trust = TrustStore.open(settings.trusted_keys)
        parts = services(PostgresRegistryStore(database), connect_store(settings), trust)
        async with running_server(settings, parts, {"database": database.check}) as server:
            yield server
