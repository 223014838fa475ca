"""The test suite on every supported CPython that this machine has."""

import nox

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13"], venv_backend="venv")
def tests(session: nox.Session) -> None:
    session.install("--quiet", "--editable", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)
