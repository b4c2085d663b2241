// The client of the benchmarks: a plain program that reads, so that the runtime of no language is in the figures.
//
//     client read|stat PATH COUNT [CPU]
//
// It prints the nanoseconds one operation took: read is open, one read of 1 MiB at most, close. With CPU it runs there alone.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
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
	cpu_set_t cpu;
	long count;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: %s read|stat PATH COUNT [CPU]\n", argv[0]);
		return 2;
	}
	if (argc == 5) {
		CPU_ZERO(&cpu);
		CPU_SET(atoi(argv[4]), &cpu);
		if (sched_setaffinity(0, sizeof cpu, &cpu)) {
			perror("sched_setaffinity");
			return 1;
		}
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
