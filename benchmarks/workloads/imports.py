"""A start that imports much: the standard library's packages, Pygments and Pylint, module by module."""

import importlib
import pkgutil

PACKAGES = [
    *("asyncio", "collections", "concurrent", "ctypes", "dbm", "email", "encodings", "html", "http"),
    *("importlib", "json", "logging", "multiprocessing", "sqlite3", "unittest", "urllib", "wsgiref"),
    *("xml", "xmlrpc", "zoneinfo", "pygments", "astroid", "pylint"),
]
MODULES = [
    *("argparse", "bdb", "calendar", "cmd", "code", "configparser", "csv", "dataclasses", "decimal"),
    *("difflib", "dis", "doctest", "enum", "filecmp", "fractions", "ftplib", "getopt", "gettext", "gzip"),
    *("imaplib", "inspect", "ipaddress", "mailbox", "mimetypes", "optparse", "pathlib", "pdb", "pickle"),
    *("pickletools", "platform", "plistlib", "poplib", "pprint", "profile", "pstats", "pyclbr", "pydoc"),
    *("random", "sched", "secrets", "selectors", "shelve", "shlex", "smtplib", "socketserver", "ssl"),
    *("statistics", "string", "subprocess", "symtable", "tarfile", "tempfile", "textwrap", "timeit"),
    *("tokenize", "trace", "tracemalloc", "turtle", "typing", "uuid", "webbrowser", "zipapp", "zipfile"),
]

for name in MODULES:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
for name in PACKAGES:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:  # of Windows, or of a library that this Python was built without
                continue
