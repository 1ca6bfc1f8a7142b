# SPDX-License-Identifier: GPL-2.0-or-later
#
# From the samples of tests/bench/jobs ($samples, lines SETTING FIGURE CANDIDATE ROUND VALUE) and
# the conditions of the run, the report that is kept. Candidates are compared by the median over the
# rounds of a value divided by the other's in the same round; pauses, of which a round has many, by
# their percentiles over all rounds.

include "lib";

def unit:
	if endswith("-iops") then "IOPS"
	elif endswith("-kept") then "share"
	elif endswith("-p99") or startswith("pause") or . == "start" then "ms"
	elif startswith("rss-") or startswith("pss-") then "KiB"
	elif startswith("query-") then "1/s"
	else "MiB/s" end;

def percentile($n): sort | .[[(length * $n / 100 | floor), length - 1] | min];

# One line of numbers for all that was measured of a figure, candidate by candidate.
def results:
	group_by([.setting, .figure, .candidate])[]
	| { setting: .[0].setting, figure: .[0].figure, candidate: .[0].candidate,
	    unit: (.[0].figure | unit), samples: (sort_by(.round) | map(.value)) };

[ $samples | split("\n")[] | select(length > 0) | split(" ")
  | { setting: .[0], figure: .[1], candidate: .[2], round: (.[3] | tonumber),
      value: (.[4] | tonumber) } ] as $all
| ([ $all | map(select(.figure != "pause")) | results | . + { median: (.samples | median) } ]
   + [ $all | map(select(.figure == "pause")) | results | .samples as $pauses
       | ({ "pause-p50": 50, "pause-p99": 99, "pause-max": 100 } | to_entries[]) as $which
       | { setting, candidate, unit, figure: $which.key }
	 + ($pauses | percentile($which.value) | { samples: [.], median: . })
	 + { count: ($pauses | length) } ]) as $results

# The median over the rounds of one candidate's value by another's.
| def against($setting; $figure; $a; $b):
	[ $results[] | select(.setting == $setting and .figure == $figure) ]
	| (map(select(.candidate == $a))[0].samples) as $x
	| (map(select(.candidate == $b))[0].samples) as $y
	| if $x and $y then [ range($x | length) | $x[.] / $y[.] ] | median else null end;
  def target($setting; $name; $value; $least):
	select($value != null)
	| { $setting, $name, $value, $least, pass: ($value >= $least) };

[ $results[].setting ] | unique
| [ .[] as $s
    | (("stream", "commit", "commit-active") as $f
       | target($s; "\($f): qchain / dd"; against($s; $f; "qchain"; "dd"); 0.9)),
      (("stream", "commit", "commit-active", "stream-loaded", "stream-load-iops",
	"stream-load-kept", "commit-active-loaded", "commit-active-load-iops",
	"commit-active-load-kept", "query-version", "query-named-block-nodes",
	"query-block-exports") as $f
       | target($s; "\($f): qchain / qsd"; against($s; $f; "qchain"; "qsd"); 1)),
      (("stream-load-p99", "commit-active-load-p99", "pause-p50", "pause-p99", "pause-max",
	"start", "rss-start", "pss-start", "rss-end", "pss-end") as $f
       | target($s; "\($f): qsd / qchain"; against($s; $f; "qsd"; "qchain"); 1)) ]
| { format: 1, $date, $mode, $clock, $commit, $kernel, $cpus, $image_mib, $rounds, $snapshots,
    load_at_start: $load, $seconds, results: $results, targets: . }
