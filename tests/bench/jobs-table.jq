# SPDX-License-Identifier: GPL-2.0-or-later
#
# A report of tests/bench/jobs as text.

include "lib";

def digits: if . == null then 0 elif . < 10 then 2 else 0 end;

.results as $results
| ["dd", "none", "qchain", "qsd"] as $candidates
| ["stream", "commit", "commit-active", "stream-loaded", "stream-load-iops", "stream-load-kept",
   "stream-load-p99", "commit-active-loaded", "commit-active-load-iops", "commit-active-load-kept",
   "commit-active-load-p99", "pause-p50", "pause-p99", "pause-max", "start", "rss-start",
   "pss-start", "rss-end", "pss-end", "query-version", "query-named-block-nodes",
   "query-block-exports"] as $figures
| "Kernel \(.kernel), \(.cpus) CPUs, images of \(.image_mib) MiB, \(.rounds) rounds, "
	+ "\(.rounds * .snapshots) snapshots, "
	+ (if .clock == "time" then "load \(.load_at_start) at start"
	   else "the clock counts instructions" end) + ", \(.seconds) s",
  (("device", "ext4", "xfs") as $s
   | select(any($results[]; .setting == $s))
   | "",
     "Images " + (if $s == "device" then "on devices" else "in files on \($s)" end)
	+ ": median, and its ratio to that of qchain",
     (("" | left(32)) + ($candidates | map(right(15)) | join(""))),
     ($figures[] as $f
      | [ $results[] | select(.setting == $s and .figure == $f) ]
      | select(length > 0)
      | . as $row
      | (map(select(.candidate == "qchain"))[0].median) as $ours
      | (($f + " " + .[0].unit) | left(32))
	+ ([ $candidates[] as $c
	     | ([ $row[] | select(.candidate == $c) ][0].median) as $value
	     | (if $value then ($value | fixed(digits)) + " " + ($value / $ours | fixed(2))
		else "" end)
	     | right(15) ] | join("")))),
  "",
  "Targets",
  (.targets[]
   | (if .pass then "PASS " else "MISS " end) + (.setting | left(8)) + (.name | left(44))
	+ (.value | fixed(2) | right(8)) + "  to reach " + (.least | fixed(2)))
