"""Rule files: YAML in, `core.ruleset.Ruleset` out, or everything that is wrong with them."""

from nfsnitch.adapters.rulefile.loader import load, load_answers_file
from nfsnitch.adapters.rulefile.names import Names, system_names
from nfsnitch.adapters.rulefile.problems import Position, Problem, RuleFileError, RuleWarning

__all__ = [
    "Names",
    "Position",
    "Problem",
    "RuleFileError",
    "RuleWarning",
    "load",
    "load_answers_file",
    "system_names",
]
