<?php
// SPDX-License-Identifier: Apache-2.0
// The built-in server's router. Each request compiles it anew: what is long comes after the stamp.
$start = hrtime(true);
require __DIR__ . '/routes.php';
