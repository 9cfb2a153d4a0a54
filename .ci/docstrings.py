"""pydoclint over all rooms, with two allowances that it has no option for.

Our docstrings put shape and unit where numpydoc has the type (``t_ns : shape (n,), int64
[ns]``), join names that share a line (``x_m, y_m : ...``), and say the result in the first
line when a Returns section would only repeat it. What remains is what we want to know: a
parameter that a docstring describes and the function does not have, or the other way round.
"""

import re
import subprocess
import sys

ROOMS = ["fanous", "edge", "gateway", "firmware_profiles", "ingest", "analytics", "simulators"]
ALLOWED = {
    "DOC111",  # "type hints" in the docstring are our shapes and units
    "DOC201",  # the first line says what is returned
    "DOC101",  # comes with DOC103, which tells more
    "DOC102",  # comes with DOC103
}
LINE = re.compile(r"^\s+(\d+): (DOC\d+): (.*)$")
LISTED = re.compile(
    r"(in the function signature but not|in the docstring but not)[^\[]*\[(.*?)\]\."
)


def names(text: str) -> set[str]:
    """Return the parameter names in pydoclint's list, without their types."""
    plain = re.sub(r"\[[^\[\]]*\]|\([^()]*\)", "", text)
    return {part.split(":")[0].strip().lstrip("*") for part in plain.split(",")} - {""}


def tolerable(code: str, text: str) -> bool:
    """Tell whether a finding is one of the allowances above."""
    if code != "DOC103":
        return code in ALLOWED
    lists = {which[:16]: found for which, found in LISTED.findall(text + ".")}
    missing = names(lists.get("in the function ", ""))
    extra_text = lists.get("in the docstring", "")
    documented = set(re.findall(r"[A-Za-z_]\w*", extra_text))
    # Nothing documented at all, or all of it in joined names.
    return not extra_text or missing <= documented


def main() -> int:
    """Run pydoclint and print what is not tolerable."""
    done = subprocess.run(
        [sys.executable, "-m", "pydoclint.main", "--quiet", *ROOMS],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    file, found = "", 0
    for line in (done.stdout + done.stderr).splitlines():
        match = LINE.match(line)
        if match is None:
            file = line.strip() or file
        elif not tolerable(match[2], match[3]):
            print(f"{file}:{match[1]}: {match[2]} {match[3]}")
            found += 1
    if done.returncode not in {0, 1}:
        print(done.stdout + done.stderr)
        return done.returncode
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
