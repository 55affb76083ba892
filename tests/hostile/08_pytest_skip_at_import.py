# title: skips itself at module level
# when: import
# verdict: not-loadable
# words: Skipped
import pytest

pytest.skip("not today", allow_module_level=True)
