# SPDX-License-Identifier: ISC
from typing import Any

ffi: Any
lib: Any
