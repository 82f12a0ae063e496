<?php
// SPDX-License-Identifier: Apache-2.0
// The routes; see README.md. Started by router.php, which stamped the request's start.
ignore_user_abort(true);
while (ob_get_level())
	ob_end_clean();

function record($status, $in, $out, $write = 0)
{
	global $start;
	$line = sprintf("%s %s %d %d %d %d %d %d\n", $_SERVER['REQUEST_METHOD'], $_SERVER['REQUEST_URI'], $status, $start,
			hrtime(true), $in, $out, $write);
	file_put_contents(getenv('SERVER_LOG'), $line, FILE_APPEND);
}

function reply($status, $body, $in = 0)
{
	http_response_code($status);
	header('Content-Length: ' . strlen($body));
	$head = $_SERVER['REQUEST_METHOD'] === 'HEAD';
	$write = hrtime(true);
	if (!$head)
		echo $body;
	flush();
	record($status, $in, $head ? 0 : strlen($body), $write);
}

function fill($n)
{
	return str_repeat('p', $n);
}

function piece($data)
{
	echo dechex(strlen($data)), "\r\n", $data, "\r\n";
	flush();
}

header_remove('X-Powered-By');
header('Content-Type: application/octet-stream');
$part = explode('/', explode('?', $_SERVER['REQUEST_URI'])[0]);
$arg = $part[2] ?? '';
switch ($part[1]) {
case 'get':
	reply(200, fill((int)$arg));
	break;
case 'echo':
	$body = file_get_contents('php://input');
	reply(200, $body, strlen($body));
	break;
case 'sink':
	$n = strlen(file_get_contents('php://input'));
	reply(200, (string)$n, $n);
	break;
case 'chunked':
	header('Transfer-Encoding: chunked');
	for ($at = 0; $at < (int)$arg; $at += 30000)
		piece(fill(min(30000, $arg - $at)));
	echo "0\r\n\r\n";
	flush();
	record(200, 0, (int)$arg);
	break;
case 'delay':
	if ((int)$arg)
		usleep((int)$arg * 1000);
	reply(200, 'x');
	break;
case 'status':
	reply((int)$arg, 'x');
	break;
case 'drip':
	header('Transfer-Encoding: chunked');
	for ($i = 0; $i < 500 && !connection_aborted(); $i++) {
		piece(fill(100));
		usleep(10000);
	}
	record(200, 0, 0);
	break;
case 'abort':
	// only the process can end a connection here; its master starts no other one
	if ($arg === 'mid') {
		header('Content-Length: 1000');
		echo '0123456789';
		flush();
		usleep(20000);
	}
	record($arg === 'mid' ? 200 : 0, 0, 0);
	if (getenv('PHP_CLI_SERVER_WORKERS'))
		posix_kill(getmypid(), 9);
	break;
default:
	reply(404, 'x');
}
