"""Models of the zoo as text: a line of the table, and all facts."""
from typing import Any

from mmsscl.zoo.cache import read_record
from mmsscl.zoo.entry import Entry

COLUMNS = ("name", "method", "backbone", "trained on", "epochs", "weights")


def row(entry: Entry) -> tuple[str, ...]:
    """A line of the table, in the order of :data:`COLUMNS`."""
    about = entry.metadata
    known = [str(about.get(key, "-")) for key in ("Backbone", "Training Data", "Epochs")]
    return (entry.name, entry.method or "-", *known, _weights(entry))


def facts(entry: Entry) -> str:
    """All that is known of a model, line by line, and the commands that use it."""
    lines = [entry.name, ""]
    record = (read_record(entry.name) if entry.weights else None) or {}
    converted = {key: value for key, value in record.get("backbone", {}).items() if key in ("mean", "std", "channel order")}
    about = {
        "method": entry.method,
        **{key: _plain(value) for key, value in converted.items()},
        **{str(key).lower(): _plain(value) for key, value in entry.metadata.items()},
        "config": entry.config,
        "weights": entry.url if entry.weights else None,
        "sha256": entry.sha256 or (_pin(record) if entry.weights else None),
        "layout": f"{entry.layout}, converted on download" if entry.layout else None,
        "listed in": entry.place,
    }
    lines += [f"{key:<14} {value}" for key, value in about.items() if value is not None]
    for result in entry.results:
        figures = ", ".join(f"{name} {value}" for name, value in result.metrics.items())
        lines += ["", f"{result.task}, {result.dataset}", f"  {figures}", f"  measured by {result.source or 'us'}"]
    return "\n".join([*lines, "", *_use(entry)])


def _use(entry: Entry) -> list[str]:
    if entry.weights is None:
        if entry.made_by is None:
            return ["no weights are published, and nothing tells how to make them"]
        lines = ["no weights are published; to make them:", f"  {entry.made_by}"]
        return [*lines, "  mmsscl export CHECKPOINT backbone.pth && mmsscl zoo add backbone.pth --name NAME"]
    trust = " --allow-unverified" if entry.sha256 is None and "pinned" not in _weights(entry) else ""
    depth = str(entry.metadata.get("Backbone", "")).rpartition("-")[2]
    shape = f", depth={depth}" if depth.isdigit() else ""
    config = "configs/transfer/faster_rcnn_r50_fpn_syncbn_1x_coco.py" if depth == "50" else "CONFIG"
    return [
        "in an mmdet config (batch norm must train: configs/transfer/ shows how):",
        f"  model = dict(backbone=dict(type='ResNet'{shape}, init_cfg=dict(type='Pretrained', checkpoint=PATH)))",
        "on the command line:",
        f"  mmsscl train {config} --cfg-options \\",
        f"      model.backbone.init_cfg.checkpoint=$(mmsscl zoo download {entry.name}{trust})",
    ]


def _weights(entry: Entry) -> str:
    status = entry.status
    if entry.weights is None or entry.status == "local":
        return f"built by: {entry.built_by}" if entry.built_by else status
    if read_record(entry.name) is None:
        return status
    return "pinned, downloaded" if entry.sha256 is None else f"{status}, downloaded"


def _pin(record: dict[str, Any]) -> str:
    return f"{record['sha256']} (pinned at the first download)" if record else "not known"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
