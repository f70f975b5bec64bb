/* SPDX-License-Identifier: Apache-2.0 */
/* The rate of fused multiply-adds that this machine reaches with independent chains in registers. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

/* GFLOP/s (2 a multiply-add) of f32 FMAs in the widest vectors, on `threads` threads at once; the
 * best of several rounds. */
double bench_peak(int threads);
double bench_now(void); /* seconds, monotonic */

/* The same of the calling thread by its own CPU time, for machines that others load too. */
double bench_cpu_peak(void);
double bench_cpu_now(void);

#endif
