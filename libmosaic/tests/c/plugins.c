/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program that knows nothing of the library, and loads a shared object that does, twice. Arguments: the
 * shared object, a mosaic for it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DONE 42

static void must(int is_true, const char *what)
{
	const char *why = dlerror();

	if (is_true)
		return;
	fprintf(stderr, "%s: %s\n", what, why != NULL ? why : "no");
	_Exit(1);
}

static void load_and_use(const char *path, const char *name)
{
	void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	int (*use)(const char *);

	must(plugin != NULL, "dlopen");
	*(void **)&use = dlsym(plugin, "use_mosaic");
	must(use != NULL, "dlsym");
	must(use(name) == DONE, "it was used");
	must(dlclose(plugin) == 0, "dlclose");
}

int main(int argc, char **argv)
{
	must(argc == 3, "two arguments");
	/* Threads that wait for each other wait for ever. */
	alarm(120);
	load_and_use(argv[1], argv[2]);
	/* Drivers, which stay, point into the library. */
	if (getenv("PLUGIN_STAYS") != NULL) {
		void *there = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);

		must(there != NULL, "it stays where it is");
		must(dlclose(there) == 0, "dlclose");
	}
	load_and_use(argv[1], argv[2]);
	return DONE;
}
