"""Which commit of this package runs."""
import subprocess
from pathlib import Path


def commit_of_checkout() -> str:
    """The commit of the checkout that this package lies in, with a plus where files differ; empty outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        # an installed package may lie inside somebody else's checkout
        return ""
    try:
        found = [
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found[0] + ("+" if found[1] else "")
