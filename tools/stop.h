/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-C and its kin: the run ends by itself, in good order. Somebody who asks again a second later
 * means it, and the program ends there and then. */
#ifndef TOOLS_STOP_H
#define TOOLS_STOP_H

#include <stdbool.h>

void stop_catch(void);
/* The signal that asked to stop, or 0. */
int stop_asked(void);
/* Between true and false a file without its name may exist: not even the second signal cuts in. */
void stop_while_writing(bool on);
/* Between true and false nothing is begun and a pipe is waited for: the first signal ends it all.
 */
void stop_while_idle(bool on);
/* From now on this thread reads standard input, which may be silent for ever: the first signal
 * makes that the end of the input. */
void stop_ends_stdin(void);

#endif
