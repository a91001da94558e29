#!/usr/bin/env bash
# Package: setuptools 84.2.1 (built with build 1.6.1)
#
# Behaviour: setuptools leaves a top-level package named "tasks" out of the wheel
# when it discovers packages by itself in a flat layout. The build ends well and
# its whole log never says that the package was left out.
#
# Expected instead: the wheel holds both packages, or the build refuses. It does
# refuse, with a clear message, when the same second package is named "jobs".
#
# Output seen on 2026-11-30:
#   setuptools 84.2.1
#   shop + tasks: build exit status 0
#   shop + tasks: python files in the wheel: shop/__init__.py
#   shop + tasks: log lines that name the package tasks: 0
#   shop + jobs:  build exit status 1
#   shop + jobs:  error: Multiple top-level packages discovered in a flat-layout: ['jobs', 'shop'].
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check setuptools==84.2.1 build==1.6.1

make_project() { # folder, name of the second package
  mkdir -p "$1/shop" "$1/$2"
  echo 'PRICE = 3' > "$1/shop/__init__.py"
  echo 'def nightly(): return "done"' > "$1/$2/__init__.py"
  cat > "$1/pyproject.toml" <<'TOML'
[build-system]
requires = ["setuptools==84.2.1"]
build-backend = "setuptools.build_meta"

[project]
name = "shop"
version = "1.0"
TOML
}

build_wheel() { # folder
  venv/bin/python -m build --wheel --no-isolation "$1" > "$1.log" 2>&1
}

venv/bin/python -c 'import importlib.metadata as m; print("setuptools", m.version("setuptools"))'

make_project with_tasks tasks
make_project with_jobs jobs

tasks_rc=0; build_wheel with_tasks || tasks_rc=$?
jobs_rc=0; build_wheel with_jobs || jobs_rc=$?

packed=""
if [ "$tasks_rc" -eq 0 ]; then
  packed=$(venv/bin/python - with_tasks/dist/*.whl <<'PY'
import sys, zipfile
print(*sorted(n for n in zipfile.ZipFile(sys.argv[1]).namelist() if n.endswith(".py")))
PY
)
fi
mentions=$(grep -cw tasks with_tasks.log || true)

echo "shop + tasks: build exit status $tasks_rc"
echo "shop + tasks: python files in the wheel: $packed"
echo "shop + tasks: log lines that name the package tasks: $mentions"
echo "shop + jobs:  build exit status $jobs_rc"
echo "shop + jobs:  $(grep -m1 'Multiple top-level packages' with_jobs.log || echo 'no message about several packages')"

if [ "$tasks_rc" -ne 0 ] || [ "$packed" != "shop/__init__.py" ] || [ "$mentions" -ne 0 ] || [ "$jobs_rc" -eq 0 ]; then
  echo "The behaviour is gone: setuptools packs the package named tasks, reports it, or treats jobs the same way." >&2
  exit 1
fi
