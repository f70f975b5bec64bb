/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "batch.h"

static const char *state_name(job_state s)
{
    static const char *const states[] = {"waiting", "done", "skipped", "failed", "stopped"};
    return states[s];
}

static void write_job(FILE *f, const job *j)
{
    fputs("    {\"input\": ", f);
    json_string(f, j->in);
    fputs(", \"output\": ", f);
    json_string(f, j->out);
    fprintf(f, ", \"state\": \"%s\"", state_name(j->state));
    if (j->state == JOB_DONE) {
        fprintf(f, ", \"size_in\": [%d, %d], \"size_out\": [%d, %d], \"seconds\": ", j->width_in,
                j->height_in, j->width_out, j->height_out);
        json_number(f, j->seconds, 3);
    }
    if (j->clip && j->state != JOB_SKIPPED)
        fprintf(f, ", \"frames\": %lld, \"same\": %lld", (long long)j->frames, (long long)j->same);
    if (j->error) {
        fputs(", \"error\": ", f);
        json_string(f, j->error);
    }
    fputs("}", f);
}

bool report_write(const inputs *in, const network *n, const batch_options *b, trouble *why)
{
    int count[5] = {0};
    FILE *f = fopen(b->report, "w");
    if (!f)
        return trouble_set(why, "%s: %s", b->report, strerror(errno));
    for (int i = 0; i < in->count; i++)
        count[in->list[i].state]++;
    fputs("{\n  \"version\": ", f);
    json_string(f, oriel_version());
    fputs(",\n  \"model\": ", f);
    json_string(f, n->info.architecture);
    fputs(",\n  \"details\": ", f);
    json_string(f, n->info.details);
    fprintf(f, ",\n  \"done\": %d,\n  \"skipped\": %d,\n  \"failed\": %d,\n  \"stopped\": %d,\n",
            count[JOB_DONE], count[JOB_SKIPPED], count[JOB_FAILED],
            count[JOB_STOPPED] + count[JOB_WAITING]);
    fputs("  \"files\": [\n", f);
    for (int i = 0; i < in->count; i++) {
        write_job(f, &in->list[i]);
        fputs(i + 1 < in->count ? ",\n" : "\n", f);
    }
    fputs("  ]\n}\n", f);
    bool bad = ferror(f);
    if (fclose(f) || bad)
        return trouble_set(why, "%s: %s", b->report, strerror(errno));
    return true;
}
