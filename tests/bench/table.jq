# SPDX-License-Identifier: GPL-2.0-or-later
#
# A report of tests/bench/run as text.

include "lib";

["limit", "thin", "thin-nozero", "thin-files", "loop", "qchain-1", "qchain-64", "qchain-500",
 "qemu-nbd", "vduse-blk", "vduse-64"] as $candidates
| ["read-4k-1", "write-4k-1", "read-4k-16", "write-4k-16", "read-64k", "read-1m", "first-4k",
   "first-64k"] as $figures
| ["device", "ext4", "xfs"] as $settings
| .results as $results
| "Kernel \(.kernel), \(.cpus) CPUs, images of \(.image_mib) MiB, \(.rounds) rounds of \(.runtime_ms) ms, "
	+ (if .clock == "time" then "load \(.load_at_start) at start"
	   else "the clock counts instructions" end) + ", \(.seconds) s",
  ($settings[] as $s
   | select(any($results[]; .setting == $s))
   | "",
     "Images " + (if $s == "device" then "on devices" else "in files on \($s)" end)
	+ ": median, and ratio to the limit",
     (("" | left(19)) + ($candidates | map(right(14)) | join(""))),
     ($figures[] as $f
      | [ $results[] | select(.setting == $s and .figure == $f) ]
      | select(length > 0)
      | . as $row
      | (($f + " " + .[0].unit) | left(19))
	+ ([ $candidates[] as $c
	     | ([ $row[] | select(.candidate == $c) ][0]) as $r
	     | (if $r then ($r.median | fixed(0)) + " " + ($r.ratio | fixed(2)) else "" end)
	     | right(14) ] | join("")))),
  "",
  "Metadata held by the module, KiB: "
	+ ([ .metadata[] | "\(.setting) depth \(.depth): \(.kib)" ] | join(", ")),
  "",
  "Targets",
  (.targets[]
   | (if .pass then "PASS " else "MISS " end) + (.setting | left(8)) + (.name | left(40))
	+ (.value | fixed(2) | right(8)) + "  to reach " + (.least | fixed(2)))
