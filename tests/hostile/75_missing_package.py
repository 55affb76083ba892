# title: imports a package that isn't there
# when: import
# verdict: not-loadable
# words: no_such_package_here
# words: standard library
import no_such_package_here
