# The verdict on one iscsi-test-cu run (stdin: its log, with -V):
#   verdict<TAB>first reason      verdict: pass, skip, fail
# A test that passed but said [SKIPPED] while it ran is a skip: a part of it was
# not exercised. "Skipping assert" alone is not, that is a check of LUN size. Some
# tests skip without a word: they pass on one assertion, nothing sent.

function trimmed(s) {
  sub(/^ *Test: .* \.\.\. */, "", s)
  sub(/^[ \t]*[0-9]+-[0-9]+-[0-9]+ [0-9:.]+ +/, "", s)
  sub(/[ \t]+[0-9]+-[0-9]+-[0-9]+ [0-9]+:[0-9:.]+ .*$/, "", s)
  gsub(/[\r\t ]+/, " ", s)
  sub(/^ /, "", s)
  return s
}

/^ *Test: .* \.\.\./ { running = started = 1 }
running && /\[SKIPPED\]|does not support RTPG|SWP is not changeable/ &&
  !/Skipping assert|No (alignment|granularity) restr/ && skipped == "" { skipped = trimmed($0) }
running && /\[FAIL(ED|URE)?\]/ && !/CU_FAIL/ && complaint == "" { complaint = trimmed($0) }
running && /^(.*\.\.\.)?FAILED/ { failed = 1 }
running && /^ *[0-9]+\. .*:[0-9]+ +- / && assertion == "" {
  assertion = trimmed($0)
  sub(/^[0-9]+\. /, "", assertion)
}
/^ *Test: .* \.\.\. *passed/ { silent = 1 }
/^ *asserts / { asserts = $2 }
# What the suite does after the test is over, a look for reservations left behind, is not the test's.
/^(.*\.\.\.)?passed/ { running = 0; finished = 1 }
/^Run Summary:/ || /^Tests completed/ { running = 0; finished = 1 }
/Suite initiali[sz]ation failed|WARNING - Suite/ { broken = trimmed($0) }
NF { last = trimmed($0) }

END {
  if (broken != "") print "fail\t" broken
  else if (!started) print "fail\tdid not run: " last
  else if (failed) print "fail\t" assertion (assertion != "" && complaint != "" ? "; " : "") complaint
  else if (!finished) print "fail\tbroke off: " last
  else if (skipped != "") print "skip\t" skipped
  else if (silent && asserts <= 1) print "skip\tgave up without a word"
  else print "pass\t"
}
