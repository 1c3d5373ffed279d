# What nfsnitch uses of google-re2, which comes without types.

class error(Exception): ...  # noqa: N801, N818

class Options:
    max_mem: int
    log_errors: bool
    dot_nl: bool
    never_capture: bool

class _Match: ...

class _Regexp:
    def search(self, text: bytes) -> _Match | None: ...
    def fullmatch(self, text: bytes) -> _Match | None: ...

def compile(pattern: str, options: Options | None = None) -> _Regexp: ...  # noqa: A001
def escape(pattern: str) -> str: ...
