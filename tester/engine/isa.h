// Which instructions our own kernels may use: those that the CPU has and oneDNN uses. oneDNN can be told to use fewer
// (ONEDNN_MAX_CPU_ISA), to find out what a lesser CPU would do; then ours use no more either.
#pragma once

bool HasAvx512Core();  // F, BW and VL
bool HasAvx512Vnni();
bool HasAvx512Vbmi();  // and VNNI: CPUs with VBMI have both, and oneDNN knows no name for VBMI
