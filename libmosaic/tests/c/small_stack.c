/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Uses every function on a small stack, from the first call of the process on. The arguments are those of
 * every_function.c.
 */
#define main use_every_function
#include "every_function.c"
#undef main

#include <pthread.h>

/* What a call needs, as mosaic.h says. */
#define STACK (128 * 1024)

static int argument_count;
static int status;

static void *use(void *arguments)
{
	status = use_every_function(argument_count, (char **)arguments);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;
	pthread_t thread;

	argument_count = argc;
	CHECK(pthread_attr_init(&attributes) == 0);
	CHECK(pthread_attr_setstacksize(&attributes, STACK) == 0);
	CHECK(pthread_create(&thread, &attributes, use, argv) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(pthread_attr_destroy(&attributes) == 0);
	return status;
}
