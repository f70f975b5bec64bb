/* SPDX-License-Identifier: Apache-2.0 */
/* oriel restore: pictures and clips through a network that keeps their size. */
#include "batch.h"

static const char more[] =
    "IN is a picture, a clip, a folder of these, or - for stdin. Several inputs, or a folder, are\n"
    "written into the folder OUT: pictures as PNG, clips as what they were; where a.png and a.jpg\n"
    "meet, the second becomes a.jpg.png. Outputs appear under their names when they are complete,\n"
    "and none that exists is replaced without -f.\n"
    "\n"
    "A clip keeps its times, its colours, and its audio, subtitles and chapters. Stopped, it is\n"
    "out.part.mp4, which plays; --resume goes on from there. With -o out/%06d.png it becomes\n"
    "pictures; pictures become a clip with -o out.mp4 --fps 24.\n"
    "\n"
    "exit codes: 0 all done, 1 some files failed (named at the end), 2 misused, 3 trouble\n"
    "with the model, 130 stopped by Ctrl-C (what was written is complete)\n";

int cmd_restore(int argc, char **argv)
{
    batch_options b = batch_defaults();
    const arg_option own[] = {
        ARG_TEXT("model", 'm', &b.model, "FILE",
                 "the network: a checkpoint for denoising or JPEG artefacts"),
        ARG_END,
    };
    arg_option options[BATCH_MAX_OPTIONS];
    batch_table(options, own, &b);
    const arg_command self = {"restore",
                              "--model FILE IN... -o OUT",
                              "Remove noise or JPEG artefacts from pictures and clips.",
                              more,
                              options,
                              1,
                              -1};

    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON || (code = batch_check("restore", &b)) != ARGS_GO_ON)
        return code;
    if (!b.model)
        return args_misused("restore", "which network? --model FILE");
    return batch_main("restore", argv + 1, argc - 1, &b);
}
