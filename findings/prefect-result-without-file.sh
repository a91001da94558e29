#!/usr/bin/env bash
# Package: prefect 3.8.8
#
# Behaviour: a Prefect task with persist_result=True and the cache policy NO_CACHE
# writes no result file, also when it names its own result_storage_key. Its state is
# Completed and still carries the path of a file that does not exist.
#
# Expected instead: persist_result=True writes the result, as it does with the default
# cache policy, or the state carries no path.
#
# Output seen on 2026-11-30:
#   prefect 3.8.8
#   default_policy: completed True, state carries a path True, file exists True
#   no_cache: completed True, state carries a path True, file exists False
#   no_cache_own_key: completed True, state carries a path True, file exists False
#   files in the result folder: 1
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PREFECT_HOME="$work/home" PREFECT_LOCAL_STORAGE_PATH="$work/results"
export DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=ERROR
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
unset PREFECT_API_URL

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  prefect==3.8.8 fastapi==0.150.0 starlette==1.10.0 anyio==4.16.0 sqlalchemy==2.0.58

cat > persist.py <<'PY'
import os
import sys

import prefect
from prefect import flow, task
from prefect.cache_policies import NO_CACHE


@task(persist_result=True)
def default_policy():
    return 41


@task(persist_result=True, cache_policy=NO_CACHE)
def no_cache():
    return 42


@task(persist_result=True, cache_policy=NO_CACHE, result_storage_key="answer.json")
def no_cache_own_key():
    return 43


@flow
def work():
    found = {}
    for one in (default_policy, no_cache, no_cache_own_key):
        state = one(return_state=True)
        path = state.data.metadata.storage_key
        found[one.fn.__name__] = (state.is_completed(), bool(path), os.path.exists(path))
    return found


seen = work()
print("prefect", prefect.__version__)
for name, (completed, has_path, exists) in seen.items():
    print(f"{name}: completed {completed}, state carries a path {has_path}, file exists {exists}")
print("files in the result folder:", len(os.listdir(os.environ["PREFECT_LOCAL_STORAGE_PATH"])))
if list(seen.values()) != [(True, True, True), (True, True, False), (True, True, False)]:
    sys.exit("The behaviour is gone: persist_result=True with NO_CACHE writes its file, or names none.")
PY
venv/bin/python persist.py
