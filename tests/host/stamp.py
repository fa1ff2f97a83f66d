"""Says in the shipped workflows of which pack and version our nodes are: .venv/bin/python -m tests.host.stamp

By these an editor without the pack offers to install it. Needed after each change of the version in pyproject.toml.
"""

import json
from collections.abc import Iterator

import tomlkit

from .fetch import CHECKOUT

WORKFLOWS = sorted([*CHECKOUT.glob("example_workflows/*.json"), *CHECKOUT.glob("subgraphs/*.json")])


def main() -> None:
    project = tomlkit.parse((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in WORKFLOWS:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        for node in our_nodes(workflow):
            node["properties"] |= {"cnr_id": project["name"], "ver": project["version"]}
        path.write_text(json.dumps(workflow, indent=2) + "\n", encoding="utf-8")


def our_nodes(workflow: dict) -> Iterator[dict]:
    """Those of a workflow as the editor saves it, also within its subgraphs."""
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", ())):
        yield from (node for node in graph["nodes"] if node["type"].startswith("VQDiffusion"))


if __name__ == "__main__":
    main()
