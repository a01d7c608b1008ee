"""Environment variables that MindSpore reads when it is imported or first used.

Import this module before anything that imports MindSpore. Variables that the user has set are left alone.
"""

from __future__ import annotations

import os
import tempfile

# errors only: MindSpore prints warnings about absent GPU and Ascend libraries otherwise
os.environ.setdefault("GLOG_v", "3")
# a failed compilation writes its report to the current directory otherwise
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
# the host thread spins while kernels run otherwise and takes a core from them (see docs/mindspore.md)
os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
