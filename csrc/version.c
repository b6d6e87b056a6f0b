/* The version that pyproject.toml gives, through setup.py.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "version.h"

#ifndef PYRUN_VERSION
#error "setup.py defines the version"
#endif

const char pyrun_version[] = PYRUN_VERSION;
