# SPDX-License-Identifier: GPL-2.0-or-later
#
# From fio's reports ($fio), the metadata counts ($memory) and the conditions of the run, the
# report that is kept. A candidate's ratio is the median over the rounds of its value divided by
# that of the limit in the same round: what slows the machine down for a while slows both.

include "lib";

def unit: if test("-4k") then "IOPS" else "MiB/s" end;

def value:
	(if .write.total_ios > 0 then .write else .read end) as $io
	| if (.jobname | split("/")[1] | unit) == "IOPS" then $io.iops
	  else $io.bw_bytes / 1048576 end;

[ $fio[].jobs[]
  | (.jobname | split("/")) as [$setting, $figure, $candidate, $round]
  | if .error != 0 then error("fio: \(.jobname): error \(.error)") else . end
  | { $setting, $figure, $candidate, round: ($round | tonumber), value: value } ] as $samples
| ([ $samples[] | select(.candidate == "limit")
     | { key: "\(.setting)/\(.figure)/\(.round)", value: .value } ] | from_entries) as $limit
| [ $samples
    | group_by([.setting, .figure, .candidate])[]
    | { setting: .[0].setting, figure: .[0].figure, candidate: .[0].candidate,
	unit: (.[0].figure | unit),
	samples: (sort_by(.round) | map(.value)),
	median: (map(.value) | median),
	ratio: (map(.value / $limit["\(.setting)/\(.figure)/\(.round)"]) | median) } ] as $results
| [ $memory | split("\n")[] | select(length > 0) | split(" ")
    | { setting: .[0], depth: (.[1] | tonumber), kib: (.[2] | tonumber) } ] as $counts

# The median over the rounds of one candidate's value by another's.
| def against($setting; $figure; $a; $b):
	[ $results[] | select(.setting == $setting and .figure == $figure) ]
	| (map(select(.candidate == $a))[0].samples) as $x
	| (map(select(.candidate == $b))[0].samples) as $y
	| if $x and $y then [ range($x | length) | $x[.] / $y[.] ] | median else null end;
  def target($setting; $name; $value; $least):
	select($value != null)
	| { $setting, $name, $value, $least, pass: ($value >= $least) };

([ $results[].setting ] | unique) as $settings
| ([ $results[] | [.setting, .figure] ] | unique) as $figures
| ["read-4k-1", "write-4k-1", "read-4k-16", "write-4k-16"] as $mapped
| [ $settings[] as $s
    | (if $s == "device" then 0.95 else 0.70 end) as $least
    | ($mapped[] as $f
       | target($s; "\($f): depth 1 / limit"; against($s; $f; "qchain-1"; "limit"); $least)),
      ($mapped[] as $f
       | target($s; "\($f): depth 500 / depth 1"; against($s; $f; "qchain-500"; "qchain-1");
		0.90)),
      (("first-4k", "first-64k") as $f
       | (if $s == "device" then "thin" else "thin-files" end) as $thin
       | target($s; "\($f): depth 1 / \($thin)"; against($s; $f; "qchain-1"; $thin); 1)),
      (("first-4k", "first-64k") as $f
       | target($s; "\($f): depth 64 / vduse-64"; against($s; $f; "qchain-64"; "vduse-64"); 1)),
      ($figures[] | select(.[0] == $s)[1] as $f
       | ("qemu-nbd", "vduse-blk") as $q
       | target($s; "\($f): depth 1 / \($q)"; against($s; $f; "qchain-1"; $q); 1)),
      ([ $counts[] | select(.setting == $s) ]
       | (map(select(.depth == 64))[0].kib) as $shallow
       | (map(select(.depth == 500))[0].kib) as $deep
       | select($shallow and $deep)
       | { setting: $s, name: "metadata KiB: depth 64 / depth 500",
	   value: ($shallow / $deep), least: 1, pass: ($deep <= $shallow) }) ] as $targets
| { format: 1, $date, $mode, $clock, $commit, $kernel, $cpus, $image_mib, $rounds, $runtime_ms,
    load_at_start: $load, $seconds, results: $results, metadata: $counts, targets: $targets }
