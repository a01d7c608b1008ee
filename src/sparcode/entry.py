"""What every entry script does around its main function: logging, error lines and exit codes."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable

from sparcode.errors import SparcodeError
from sparcode.progress import Progress, write_line

DEBUG_VARIABLE = "SPARCODE_DEBUG"
"""Set to 1 in the environment to see the traceback of an error."""

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

# Faults of the file system that the user, not the programmer, can mend.
_USER_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.EFBIG,
    }
)


class _StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the time of the record."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_line(self.format(record), sys.stderr)
        except Exception:  # logging's own contract: a record that cannot be written must not stop the work
            self.handleError(record)


class _PlainFormatter(logging.Formatter):
    """``message`` for progress, ``warning: message`` from warnings upwards."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text


def configure_logging() -> None:
    """Sends the package's progress (INFO) and everybody's warnings to stderr as plain lines; idempotent."""
    root = logging.getLogger()
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        root.addHandler(stderr_handler())
    logging.getLogger("sparcode").setLevel(logging.INFO)


def stderr_handler() -> logging.Handler:
    """Writes plain lines to stderr, above an open progress line."""
    handler = _StderrHandler()
    handler.setFormatter(_PlainFormatter("%(message)s"))
    return handler


def run_entry(main: Callable[[list[str]], None], argv: list[str]) -> int:
    """Runs an entry script's main function and turns every way it can end into an exit code.

    An error is one line ``error: ...`` on stderr. The traceback follows it only with ``SPARCODE_DEBUG=1``.

    Args:
        main: the work; receives ``argv``.
        argv: command-line arguments without the program's name.

    Returns:
        0: done; the error's own code for a ``SparcodeError`` (2, training failures 1); 2: a file that cannot
        be read or written; 130: interrupted; 1: anything else.
    """
    configure_logging()
    _introduce_worker()
    try:
        main(argv)
        sys.stdout.flush()
    except SystemExit as error:  # argparse after --help
        return _exit_code(error)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except SparcodeError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _drop_stdout()
        return _fail("the reader of the output closed it", EXIT_FAILURE)
    except OSError as error:
        return _report_os_error(error)
    except Exception as error:
        return _report_internal(error)
    return EXIT_DONE


def loading() -> Progress:
    """Says that MindSpore is being imported, while the block runs that imports it."""
    return Progress("loading MindSpore")


def _introduce_worker() -> None:
    """Says in the log of a worker that msrun started which one it is: the launcher knows its number alone."""
    if os.environ.get("MS_ROLE") == "MS_WORKER":
        rank, size = os.environ.get("RANK_ID", "?"), os.environ.get("MS_WORKER_NUM", "?")
        sys.stderr.write(f"worker of rank {rank} of {size}: process {os.getpid()}\n")
        sys.stderr.flush()


def is_first_process() -> bool:
    """Whether this process speaks for its job: it works alone or is the first of msrun's workers."""
    return os.environ.get("RANK_ID", "0") == "0"


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return EXIT_DONE
    return error.code if isinstance(error.code, int) else _fail(str(error.code), EXIT_FAILURE)


def _report_os_error(error: OSError) -> int:
    if error.errno not in _USER_ERRNOS:
        return _report_internal(error)
    if error.filename is None:  # a stream, most likely stdout on a full disk: Python must not flush it again
        _drop_stdout()
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return _fail(": ".join([" -> ".join(names) or "output", error.strerror or "failed"]), EXIT_USER_ERROR)


def _report_internal(error: Exception) -> int:
    text = f"internal error: {type(error).__name__}"
    if str(error):
        text += f": {error}"
    hint = "" if _debugging() else f" (set {DEBUG_VARIABLE}=1 for the traceback)"
    return _fail(text + hint, EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    """Prints the error line (and, when debugging, the traceback of the error being handled)."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    if _debugging() and sys.exc_info()[0] is not None:
        sys.stderr.write(traceback.format_exc())
    return code


def _debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE) == "1"


def _drop_stdout() -> None:
    """Points stdout at nothing, so that the interpreter's own flush at exit does not fail once more."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by an object in memory: nothing to flush to a device
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, descriptor)
    finally:
        os.close(devnull)
