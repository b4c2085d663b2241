// The client of the benchmarks: a plain program that reads, so that the runtime of no language is in the figures.
//
//     client read|stat PATH COUNT
//
// It prints the nanoseconds one operation took: read is open, read to the end of 1 MiB at most, close.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 20];

static int once(int reads, const char *path)
{
	struct stat st;
	int fd;

	if (!reads)
		return stat(path, &st);
	if ((fd = open(path, O_RDONLY)) < 0 || read(fd, buffer, sizeof buffer) <= 0)
		return -1;
	return close(fd);
}

int main(int argc, char **argv)
{
	struct timespec from, to;
	long count;

	if (argc != 4) {
		fprintf(stderr, "usage: %s read|stat PATH COUNT\n", argv[0]);
		return 2;
	}
	count = atol(argv[3]);
	for (long i = -count / 10; i < count; i++) { // a tenth to warm up
		if (i == 0)
			clock_gettime(CLOCK_MONOTONIC, &from);
		if (once(!strcmp(argv[1], "read"), argv[2])) {
			perror(argv[2]);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.0f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
	return 0;
}
