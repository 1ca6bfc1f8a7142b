# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
#
# The workloads of the crash test.  choose_workload NAME sets
#	version, cluster, refcount_bits		of the image
#	size		of the virtual disk, MiB
#	disk_size	of the disk that the image lies on, MiB
#	image		what is in it at first: empty; backed (empty over a backing image); mixed
#			(backed, and own clusters of all kinds, some shared with a snapshot); chain
#			(several images, with own clusters of all kinds)
#	layers		of a chain: their names, the base first; they share the disk.  No two are of
#			the same length, so that half a name is none
#	steps		of a chain: its jobs, and what is between them, as COMMAND {ARGUMENTS} of QMP
#	memory		the module's metadata_limit_kib
#	place		disk; file (the image is a file of an ext4 file system on the disk)
#	program		workload, or files (of an ext4 file system in the image)
#	options		of that program
#	ops		number of operations of a full run
#	what		in words

all_workloads="sequential random tiny mixed mixed-v2 mixed-large discard discard-v2 discard-tiny
	refcounts refcounts-narrow concurrent concurrent-large fua pressure file file-mixed
	ext4 ext4-file job-stream job-middle job-commit job-active"
again_workloads="mixed discard-tiny refcounts concurrent file-mixed ext4"
short_workloads="mixed discard-tiny refcounts concurrent file ext4 job-middle job-active"

choose_workload() {
	version=3 cluster=65536 refcount_bits=16 size=8 disk_size=24 image=empty place=disk
	memory=65536
	program=workload ops=1200 options= layers='' steps=''
	case $1 in
	sequential)
		what="sequential allocating writes"
		options="--sequential --max-sectors 96 --flush 6 --fua 2"
		size=24 disk_size=40
		;;
	random)
		what="random allocating writes over a backing image"
		image=backed cluster=4096
		options="--max-sectors 40 --flush 5 --fua 2"
		;;
	tiny)
		what="random writes into clusters of 512 bytes"
		image=backed cluster=512 size=4
		options="--max-sectors 24 --flush 5 --fua 2 --threads 2"
		;;
	mixed)
		what="overwrites of backed, zero, compressed and snapshot-shared clusters"
		image=mixed cluster=4096
		options="--max-sectors 24 --flush 5 --fua 3 --discard 5 --threads 2"
		;;
	mixed-v2)
		what="the same in version 2"
		image=mixed cluster=4096 version=2
		options="--max-sectors 24 --flush 5 --fua 3 --discard 5 --hints --threads 2"
		;;
	mixed-large)
		what="the same with clusters of 64 KiB"
		image=mixed disk_size=40
		options="--max-sectors 100 --flush 5 --fua 3 --discard 5 --threads 2"
		;;
	discard)
		what="discards, and reuse of what they free"
		image=backed cluster=4096 size=4 disk_size=12
		options="--max-sectors 40 --flush 6 --fua 2 --discard 35"
		;;
	discard-v2)
		what="the same in version 2 without a backing image"
		cluster=65536 version=2 disk_size=16
		options="--max-sectors 200 --flush 6 --fua 2 --discard 35"
		;;
	discard-tiny)
		what="the same with clusters of 512 bytes and four threads"
		image=mixed cluster=512 size=2 disk_size=8
		options="--max-sectors 24 --flush 6 --fua 2 --discard 35 --threads 4"
		;;
	refcounts)
		what="growth of the refcount table (64-bit refcounts, clusters of 512 bytes)"
		cluster=512 refcount_bits=64 disk_size=32 size=12
		options="--sequential --max-sectors 64 --flush 3 --fua 1 --discard 4 --threads 2"
		;;
	refcounts-narrow)
		what="1-bit refcounts, clusters of 512 bytes"
		cluster=512 refcount_bits=1
		options="--max-sectors 64 --flush 3 --fua 1 --discard 10 --threads 2"
		;;
	concurrent)
		what="eight threads of everything, each with flushes of its own"
		image=mixed cluster=4096
		options="--max-sectors 32 --flush 8 --fua 8 --discard 10 --threads 8"
		;;
	concurrent-large)
		what="the same with clusters of 64 KiB"
		image=mixed disk_size=40
		options="--max-sectors 64 --flush 8 --fua 8 --discard 10 --threads 8"
		;;
	file)
		what="the image in a file, with discards and zeroes"
		image=backed place=file cluster=4096 disk_size=48
		options="--max-sectors 40 --flush 5 --fua 3 --discard 15 --zero 15 --threads 4"
		;;
	file-mixed)
		what="the same with clusters of all kinds, of 64 KiB"
		image=mixed place=file disk_size=64
		options="--max-sectors 100 --flush 5 --fua 3 --discard 10 --zero 15 --threads 4"
		;;
	fua)
		what="overwrites in place, many of them FUA"
		size=2 disk_size=8
		options="--max-sectors 64 --flush 10 --fua 40 --threads 2"
		;;
	pressure)
		what="little memory for metadata and few flushes"
		image=mixed cluster=512 size=24 disk_size=64 memory=512
		options="--max-sectors 100 --flush 1 --discard 8 --threads 3"
		;;
	ext4)
		what="ext4 with fsync"
		program=files image=filesystem cluster=4096 size=16 disk_size=32 ops=400
		options="--threads 3 --files 9"
		;;
	ext4-file)
		what="ext4 with fsync, the image in a file on ext4"
		program=files image=filesystem place=file size=16 disk_size=64 ops=400
		options="--threads 3 --files 9"
		;;
	job-*)
		image=chain cluster=4096 size=4 ops=8000
		options="--max-sectors 24 --flush 4 --fua 2 --discard 5 --threads 2"
		choose_jobs "$1" || return
		disk_size=$(($(wc -w <<< "$layers") * 12))
		;;
	*)
		echo "no such workload: $1" >&2
		return 2
		;;
	esac
}

choose_jobs() {
	case $1 in
	job-stream)
		what="streams into the top layer, down to a base, then of everything"
		layers="a bb ccc"
		steps='block-stream {"device": "node-ccc", "base-node": "node-a"}
		block-stream {"device": "node-ccc"}'
		;;
	job-middle)
		what="a stream into an intermediate layer, and its commit"
		layers="a bb ccc dddd" cluster=65536
		steps='block-stream {"device": "node-ccc", "base-node": "node-a"}
		block-commit {"device": "node-dddd", "top-node": "node-ccc", "base-node": "node-a"}'
		;;
	job-commit)
		what="commits of intermediate layers, in version 2"
		layers="a bb ccc dddd" version=2
		options="${options/--discard 5/--discard 5 --hints}"
		steps='block-commit {"device": "node-dddd", "top-node": "node-bb", "base-node": "node-a"}
		block-commit {"device": "node-dddd", "top-node": "node-ccc", "base-node": "node-a"}'
		;;
	job-active)
		what="commits of the top layer, into one in the middle, then into the base"
		layers="a bb ccc dddd"
		steps='block-commit {"device": "node-dddd", "base-node": "node-bb"}
		blockdev-del {"node-name": "node-dddd"}
		blockdev-del {"node-name": "node-ccc"}
		block-commit {"device": "node-bb", "base-node": "node-a"}'
		;;
	*)
		echo "no such workload: $1" >&2
		return 2
		;;
	esac
}

# What each layer of a chain has of the disk.
slice_sectors() {
	echo $((disk_size * 2048 / $(wc -w <<< "$layers")))
}

# Number of files of a "files" workload, 0 for others.
workload_files() {
	if [ "$program" = files ]; then
		sed 's/.*--files \([0-9]*\).*/\1/' <<< "$options"
	else
		echo 0
	fi
}
