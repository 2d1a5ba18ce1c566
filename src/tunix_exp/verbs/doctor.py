"""`python -m tunix_exp doctor [--json]`: what a first run needs, and the remedy for what is missing."""

import json
from dataclasses import asdict

from tunix_exp.doctor.examination import examine
from tunix_exp.exits import COMPLETED, FAILED
from tunix_exp.verbs.words import Words


def main(words: list[str]) -> int:
    """Completed when nothing keeps the default experiment from running here."""
    parser = Words(
        "doctor", "Look at what a first run needs: each line is ok, warn or fail, with the remedy."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    as_json = parser.parse_args(words).json
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            print(finding, flush=True)
    fails = sum(finding.level == "fail" for finding in findings)
    if as_json:
        print(json.dumps({"ok": fails == 0, "findings": [asdict(one) for one in findings]}, indent=2))
    else:
        print("the default experiment can run here" if not fails else f"{fails} to fix before a first run")
    return FAILED if fails else COMPLETED
