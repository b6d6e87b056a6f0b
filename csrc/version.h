/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PYRUN_VERSION_H
#define PYRUN_VERSION_H

extern const char pyrun_version[];

#endif
