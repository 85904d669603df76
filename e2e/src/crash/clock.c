/*
 * Loaded in front of the C library: adds the seconds in the file $POSTROAD_CLOCK to what the machine's clock says. The
 * clocks that only count time (monotonic, since boot) are left alone, as a step of the real clock leaves them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *offset;

__attribute__((constructor)) static void start(void)
{
	const char *file = getenv("POSTROAD_CLOCK");
	int descriptor = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	void *page = descriptor < 0 ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, descriptor, 0);

	if (page == MAP_FAILED)
		_exit(97);
	offset = page;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += offset ? *offset : 0;
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &exact);
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *seconds)
{
	struct timespec exact;

	clock_gettime(CLOCK_REALTIME, &exact);
	if (seconds)
		*seconds = exact.tv_sec;
	return exact.tv_sec;
}
