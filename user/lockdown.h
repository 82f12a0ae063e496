/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's lockdown mode (Secure Boot): which one, and how that is known. */
#pragma once

/* "none", "integrity", "confidentiality" or "unknown"; asked once. */
const char *lockdown_mode(void);
/* How it is known when not by the usual file, or why it is not; "" for the usual file. */
const char *lockdown_how(void);
