# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the reports and tables share: jq -L tests/bench.

def median:
	sort | if length == 0 then null
		elif length % 2 == 1 then .[length / 2 | floor]
		else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# Columns of a table.
def left($n): . + " " * ([$n - length, 0] | max);
def right($n): " " * ([$n - length, 0] | max) + .;
def fixed($digits):
	if . == null then "-" else
		(. * pow(10; $digits) | round | tostring) as $s
		| if $digits == 0 then $s
		  else ("0" * ([$digits + 1 - ($s | length), 0] | max) + $s)
			| .[:-$digits] + "." + .[-$digits:] end
	end;
