// SPDX-License-Identifier: Apache-2.0
/* Command lines as they stand in /proc, and what their programs should be called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "user/enrich/identity.h"
#include "user/enrich/package_json.h"

/* Arguments are written with one blank between them; '~' stands for a blank inside. */
struct row {
	const char *exe, *args, *cwd, *name;
};

/* The one file system of all rows. */
static const struct {
	const char *path, *text;
} files[] = {
	{"/srv/shop/package.json", "{\"version\": \"1\", \"name\": \"shop-web\"}"},
	{"/srv/typed/dist/package.json", "{\"type\": \"module\"}"},
	{"/srv/typed/package.json", "{\"name\": \"@acme/typed\"}"},
	{"/usr/lib/node_modules/pm2/package.json", "{\"name\": \"pm2\"}"},
	{"/srv/broken/package.json", "{\"name\": 5"},
	{"/deep/package.json", "{\"name\": \"deep\"}"},
	{"/srv/shop/node_modules/next/package.json", "{\"name\": \"next\"}"},
};

static int read_file(void *ctx, const char *path, struct buf *out)
{
	buf_clear(out);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (!strcmp(files[i].path, path)) {
			buf_puts(out, files[i].text);
			return 0;
		}
	}
	return -ENOENT;
}

static const struct row rows[] = {
	/* programs of their own */
	{"/usr/sbin/nginx", "nginx:~worker~process", "/", "nginx"},
	{"/usr/sbin/nginx", "/usr/sbin/nginx -g daemon~off;", "/", "nginx"},
	{"/usr/sbin/apache2", "/usr/sbin/apache2 -k start", "/", "apache2"},
	{"/usr/lib/postgresql/15/bin/postgres", "postgres:~15/main:~walwriter", "/", "postgres"},
	{"/opt/shop/shop-server-2", "./shop-server-2", "/opt/shop", "shop-server-2"},
	{"/memfd:runc", "runc init", "/", "runc"},
	{"", "/usr/bin/thing --x", "/", "thing"},
	{"", "postgres:~writer", "/", "mycomm"},
	{"", "", "", "mycomm"},
	{"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
	 "/lib64/ld-linux-x86-64.so.2 --library-path /x /opt/shop/bin/shop -v", "/", "shop"},
	{"/lib/ld-musl-x86_64.so.1", "ld.so /usr/bin/python3 app.py", "/", "app"},
	/* one executable, many programs */
	{"/bin/busybox", "httpd -f -p 8080", "/", "httpd"},
	{"/bin/busybox", "/bin/busybox httpd -f", "/", "httpd"},
	{"/bin/busybox", "sh /opt/run.sh", "/", "run"},
	{"/bin/busybox", "-sh", "/", "sh"},
	/* Python */
	{"/usr/bin/python3.11", "python3 -m http.server 8000", "/", "http.server"},
	{"/usr/bin/python3.11", "python3 -mhttp.server", "/", "http.server"},
	{"/usr/bin/python3.11", "python3 -um http.server", "/", "http.server"},
	{"/usr/bin/python3.11", "python3 /srv/shop/pay.py --port 1", "/", "pay"},
	{"/usr/bin/python3.11", "python3 -W ignore -X dev -u pay.py", "/srv", "pay"},
	{"/usr/bin/python3.11", "python3 -Wignore --check-hash-based-pycs always pay.py", "/srv", "pay"},
	{"/usr/bin/python3.11", "python3 -c import~x;x.y() pay.py", "/", "python"},
	{"/usr/bin/python3.11", "python3 -Ic code", "/", "python"},
	{"/usr/bin/python3.11", "python3", "/", "python"},
	{"/usr/bin/python3.11", "python3 -", "/", "python"},
	{"/usr/bin/python3.11", "python3 -W", "/", "python"},
	{"/usr/bin/python3.11", "python3 -- -odd.py", "/", "-odd"},
	{"/usr/bin/python3.13t", "python3.13t pay.py", "/", "pay"},
	{"/usr/bin/pypy3", "pypy3 pay.py", "/", "pay"},
	{"/usr/bin/python3.11", "python manage.py runserver", "/srv/books", "books"},
	{"/usr/bin/python3.11", "python /srv/books/__main__.py", "/", "books"},
	{"/usr/bin/python3.11", "python .", "/srv/books", "books"},
	{"/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/gunicorn -w 4 -b 0.0.0.0:8000 shop.main:app", "/",
	 "shop.main"},
	{"/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/gunicorn shop.wsgi", "/", "shop.wsgi"},
	{"/usr/bin/python3.11", "python /usr/bin/gunicorn -k uvicorn.workers.UvicornWorker shop:create_app()", "/",
	 "shop"},
	{"/usr/bin/python3.11", "python /usr/bin/gunicorn -c conf.py", "/", "gunicorn"},
	{"/usr/bin/python3.11", "gunicorn:~master~[shop.main:app]", "/", "shop.main"},
	{"/usr/bin/python3.11", "gunicorn:~worker~[shop.main:app]", "/", "shop.main"},
	{"/usr/bin/python3.11", "python -m uvicorn shop.main:app --host localhost:80 --port 8000", "/", "shop.main"},
	{"/usr/bin/python3.11", "python /venv/bin/uvicorn --host 127.0.0.1 --port 8000 --reload pay:app", "/", "pay"},
	{"/usr/bin/python3.11", "python /venv/bin/uvicorn --uds unix:/run/x.sock pay:app", "/", "pay"},
	{"/usr/bin/python3.11", "python /venv/bin/celery -A shop.tasks worker", "/", "shop.tasks"},
	{"/usr/bin/python3.11", "python /venv/bin/celery worker", "/", "celery"},
	{"/usr/bin/python3.11", "python -m flask --app shop.py run", "/", "shop"},
	{"/usr/bin/python3.11", "python -m flask run", "/", "bank"}, /* FLASK_APP */
	{"/usr/bin/python3.11", "python /usr/bin/supervisord -n", "/", "supervisord"},
	/* Node */
	{"/usr/bin/node", "node server.js", "/srv/plain", "server"},
	{"/usr/bin/node", "node server.js", "/srv/shop", "shop-web"},
	{"/usr/bin/node", "node /srv/shop/src/http/server.js", "/", "shop-web"},
	{"/usr/bin/node", "node dist/index.js", "/srv/typed", "@acme/typed"},
	{"/usr/bin/node", "node index.js", "/srv/plain", "plain"},
	{"/usr/bin/node", "node dist/main.js", "/srv/plain", "plain"},
	{"/usr/bin/node", "node dist/main.js", "", "main"},
	{"/usr/bin/node", "node .", "/srv/shop", "shop-web"},
	{"/usr/bin/node", "node .", "/srv/plain", "plain"},
	{"/usr/bin/node", "node ../shop/x.js", "/srv/plain", "shop-web"},
	{"/usr/bin/node", "node x.js", "/srv/broken", "x"},
	{"/usr/bin/node", "node x.js", "/deep/1/2/3/4", "deep"},
	{"/usr/bin/node", "node x.js", "/deep/1/2/3/4/5", "x"},
	{"/usr/bin/node", "node -r ./trace.js --import ./a.mjs --loader b --max-old-space-size=99 pay.mjs", "/srv",
	 "pay"},
	{"/usr/bin/node", "node --require=./trace.js pay.cjs", "/srv", "pay"},
	{"/usr/bin/node", "node -e code pay.js", "/srv", "node"},
	{"/usr/bin/node", "node --eval code", "/srv", "node"},
	{"/usr/bin/node", "node", "/srv", "node"},
	{"/usr/bin/node", "node /srv/shop/node_modules/.bin/next start", "/srv/shop", "shop-web"},
	{"/usr/bin/node", "node /usr/lib/node_modules/pm2/lib/Daemon.js", "/", "pm2"},
	{"/usr/bin/node", "node /usr/lib/node_modules/@acme/cli/bin/x.js", "/", "@acme/cli"},
	{"/usr/bin/deno", "deno run --allow-net -A pay.ts", "/srv", "pay"},
	{"/usr/bin/deno", "deno task start", "/srv", "deno"},
	{"/usr/bin/deno", "deno run https://example.com/x/pay.ts", "/srv", "pay"},
	{"/usr/bin/bun", "bun pay.ts", "/srv", "pay"},
	{"/usr/bin/bun", "bun run index.ts", "/srv/shop", "shop-web"},
	/* Java */
	{"/usr/lib/jvm/17/bin/java", "java -jar shop.jar", "/", "shop"},
	{"/usr/lib/jvm/17/bin/java", "java -Xmx1g -Da=b -jar /opt/shop-1.2.3.jar --x", "/", "shop"},
	{"/usr/lib/jvm/17/bin/java", "java -jar shop-web-1.2.3-SNAPSHOT.jar", "/", "shop-web"},
	{"/usr/lib/jvm/17/bin/java", "java -jar web3-4u.jar", "/", "web3-4u"},
	{"/usr/lib/jvm/17/bin/java", "java -jar shop-2.war", "/", "shop"},
	{"/usr/lib/jvm/17/bin/java", "java -cp a.jar:b.jar com.acme.Shop arg", "/", "Shop"},
	{"/usr/lib/jvm/17/bin/java", "java -classpath x --add-opens java.base/java.lang=ALL-UNNAMED Shop", "/", "Shop"},
	{"/usr/lib/jvm/17/bin/java", "java -p mods -m com.acme/com.acme.shop.Start", "/", "Start"},
	{"/usr/lib/jvm/17/bin/java", "java --module=com.acme/com.acme.Pay", "/", "Pay"},
	{"/usr/lib/jvm/17/bin/java", "java -cp x org.apache.catalina.startup.Bootstrap start", "/", "tomcat"},
	{"/usr/lib/jvm/17/bin/java", "java Shop.java", "/", "Shop"},
	{"/usr/lib/jvm/17/bin/java", "java -version", "/", "java"},
	/* Ruby, Perl, PHP, .NET, shells */
	{"/usr/bin/ruby3.1", "ruby -r json -I lib -w pay.rb", "/", "pay"},
	{"/usr/bin/ruby3.1", "ruby -e code", "/", "ruby"},
	{"/usr/bin/ruby3.1", "ruby bin/rails server", "/srv/books", "books"},
	{"/usr/bin/ruby3.1", "ruby /usr/bin/puma -C x.rb", "/", "puma"},
	{"/usr/bin/ruby3.1", "puma~6.4~(tcp://0.0.0.0:3000)~[books]", "/", "puma"},
	{"/usr/bin/perl", "/usr/bin/perl -w -I lib -MFoo pay.pl", "/", "pay"},
	{"/usr/bin/perl", "perl -ne print", "/", "perl"},
	{"/usr/bin/perl", "starman~master", "/", "perl"},
	{"/usr/bin/php8.2", "php -S 127.0.0.1:8000 router.php", "/", "php"},
	{"/usr/bin/php8.2", "php -d a=b pay.php", "/", "pay"},
	{"/usr/bin/php8.2", "php -f pay.php", "/", "pay"},
	{"/usr/bin/php8.2", "php artisan serve", "/srv/books", "books"},
	{"/usr/bin/php8.2", "php bin/console x", "/srv/books", "books"},
	{"/usr/bin/php8.2", "php -r code", "/", "php"},
	{"/usr/sbin/php-fpm8.2", "php-fpm:~pool~www", "/", "php-fpm"},
	{"/usr/bin/dotnet", "dotnet /app/Shop.Web.dll --urls x", "/", "Shop.Web"},
	{"/usr/bin/dotnet", "dotnet exec --depsfile x.json Shop.dll", "/", "Shop"},
	{"/usr/bin/dotnet", "dotnet run", "/", "dotnet"},
	{"/usr/bin/mono-sgen", "mono Shop.exe", "/", "Shop"},
	{"/usr/bin/bash", "bash /opt/start.sh a b", "/", "start"},
	{"/usr/bin/bash", "bash -euo pipefail start.sh", "/", "start"},
	{"/usr/bin/bash", "bash -c code", "/", "bash"},
	{"/usr/bin/bash", "-bash", "/", "bash"},
	{"/usr/bin/dash", "/bin/sh -c code", "/", "dash"},
	{"/usr/bin/bash", "bash --rcfile x -l", "/", "bash"},
	/* look alike */
	{"/usr/bin/node_exporter", "node_exporter pay.js", "/", "node_exporter"},
	{"/usr/bin/pythonic", "pythonic pay.py", "/", "pythonic"},
	{"/usr/bin/javac", "javac Shop.java", "/", "javac"},
};

/* Every input lies in memory of exactly its size, so that reading past it is found. */
static struct str exact(const char *text, char from, char to)
{
	size_t len = strlen(text);
	char *p = malloc(len ? len : 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = text[i] == ' ' && from ? to : text[i];
	return (struct str){p, len};
}

static void name_row(const struct row *r, struct identity_program *ret)
{
	struct str args = exact(r->args, ' ', 0), exe = exact(r->exe, 0, 0), cwd = exact(r->cwd, 0, 0);
	struct identity_input in = {
		.exe = exe,
		.args = args,
		.cwd = cwd,
		.comm = STR("mycomm"),
		.environ = STR("A=b\0FLASK_APP=bank.py\0"),
		.read_file = read_file,
	};

	for (size_t i = 0; i < args.len; i++) {
		if (args.p[i] == '~')
			((char *)args.p)[i] = ' ';
	}
	identity_program(&in, ret);
	free((char *)args.p);
	free((char *)exe.p);
	free((char *)cwd.p);
}

static void test_names(void **state)
{
	size_t wrong = 0;

	print_message("%zu command lines\n", ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct identity_program prog;

		name_row(&rows[i], &prog);
		if (strcmp(prog.name, rows[i].name) == 0)
			continue;
		print_error("%s | %s | %s → \"%s\", not \"%s\"\n", rows[i].exe, rows[i].args, rows[i].cwd, prog.name,
			    rows[i].name);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void test_runtimes_and_helpers(void **state)
{
	struct identity_program prog;
	struct row r = {"/usr/bin/python3.11", "", "/", ""};
	struct identity_input in = {.exe = STR("/usr/bin/python3.11")};

	name_row(&r, &prog);
	assert_string_equal(prog.runtime, "cpython");
	assert_false(prog.as_parent);
	r.exe = "/usr/sbin/nginx";
	name_row(&r, &prog);
	assert_null(prog.runtime);

	in.args = STR("/usr/bin/python3\0-c\0from multiprocessing.spawn import spawn_main; "
		      "spawn_main()\0--multiprocessing-fork\0");
	identity_program(&in, &prog);
	assert_true(prog.as_parent);
	assert_string_equal(prog.name, "python");
}

/* Any command line, cut anywhere, gives a name and reads nothing outside. */
static void test_cut_anywhere(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char args[256];
		size_t len = strlen(rows[i].args);

		for (size_t cut = 0; cut <= len; cut++) {
			struct row r = rows[i];
			struct identity_program prog;

			memcpy(args, r.args, cut);
			args[cut] = 0;
			r.args = args;
			name_row(&r, &prog);
			assert_int_not_equal(prog.name[0], 0);
		}
	}
}

static void test_hostile_arguments(void **state)
{
	size_t len = 64 << 10;
	char *p = malloc(len);
	struct identity_input in = {.exe = STR("/usr/bin/node"), .cwd = STR("/a"), .read_file = read_file};
	struct identity_program prog;

	assert_non_null(p);
	memset(p, 0, len);
	in.args = (struct str){p, len};
	identity_program(&in, &prog);
	assert_string_equal(prog.name, "node");
	memset(p, '/', len);
	memcpy(p, "node", 5);
	identity_program(&in, &prog);
	assert_int_not_equal(prog.name[0], 0);
	memset(p + 5, 0xff, len - 5);
	identity_program(&in, &prog);
	assert_true(strlen(prog.name) < IDENTITY_NAME_MAX);
	/* U+FFFD over and over, and not half of one at the end */
	assert_int_equal(strlen(prog.name) % 3, 0);
	free(p);
}

static const struct {
	const char *unit, *name; /* NULL: names no service */
} units[] = {
	{"nginx.service", "nginx"},
	{"postgresql@15-main.service", "postgresql"},
	{"my\\x2dapp.service", "my-app"},
	{"run-redis.service", "run-redis"},
	{"docker.service", "docker"},
	{"ssh.service", NULL},
	{"sshd@1-10.0.0.1:22.service", NULL},
	{"cron.service", NULL},
	{"user@1000.service", NULL},
	{"getty@tty1.service", NULL},
	{"sonde.service", NULL},
	{"run-u17.service", NULL},
	{"run-r0123456789abcdef0123456789abcdef.service", NULL},
	{"session-3.scope", NULL},
	{".service", NULL},
	{"@x.service", NULL},
	{"", NULL},
};

static void test_units(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		char name[IDENTITY_NAME_MAX];
		bool is = identity_unit(str_of(units[i].unit), name);

		print_message("%s\n", units[i].unit);
		assert_int_equal(is, units[i].name != NULL);
		if (is)
			assert_string_equal(name, units[i].name);
	}
}

static void test_env(void **state)
{
	const struct str env = STR("XOTEL=0\0OTEL_SERVICE_NAME=shop\0OTEL_SERVICE_NAME=other\0EMPTY=\0NOEQ");
	struct str v;

	assert_true(identity_env(env, "OTEL_SERVICE_NAME", &v));
	assert_true(str_is(v, "shop"));
	assert_true(identity_env(env, "EMPTY", &v));
	assert_int_equal(v.len, 0);
	assert_false(identity_env(env, "OTEL", &v));
	assert_false(identity_env(env, "NOEQ", &v));
	assert_false(identity_env((struct str){0}, "A", &v));
}

struct sink {
	char text[4096];
	int n;
};

static void collect(void *ctx, const char *key, const char *value)
{
	struct sink *s = ctx;

	s->n++;
	snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text), "[%s|%s]", key, value);
}

static const struct {
	const char *in, *out; /* NULL: malformed */
} attributes[] = {
	{"", ""},
	{"service.name=shop,service.version=1.2", "[service.name|shop][service.version|1.2]"},
	{" a = b , c=d ", "[a|b][c|d]"},
	{"a=b%2Cc%3Dd%20e", "[a|b,c=d e]"},
	{"a%2Eb=c", "[a.b|c]"},
	{"a=b=c", "[a|b=c]"},
	{"a=,b=c", "[a|][b|c]"},
	{"a=b,", "[a|b]"},
	{"a=%c3%a4", "[a|\xc3\xa4]"},
	{"a=%ff", "[a|\xef\xbf\xbd]"},
	{"a=x%0Ay", "[a|x?y]"},
	{"a=b,c", NULL},
	{"=b", NULL},
	{"a=%", NULL},
	{"a=%4", NULL},
	{"a=%zz", NULL},
	{"a=%00", NULL},
};

static void test_attributes(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		struct str in = exact(attributes[i].in, 0, 0);
		struct sink s = {0};
		int err = identity_attributes(in, collect, &s);

		print_message("%s\n", attributes[i].in);
		assert_int_equal(err, attributes[i].out ? 0 : -EINVAL);
		assert_string_equal(s.text, attributes[i].out ? attributes[i].out : "");
		free((char *)in.p);
	}
}

static void test_attributes_are_bounded(void **state)
{
	_buf_ struct buf b = BUF_INIT;
	struct sink s = {0};

	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "k%d=v,", i);
	assert_int_equal(identity_attributes(buf_view(&b), collect, &s), 0);
	assert_int_equal(s.n, IDENTITY_ATTRS_MAX);
}

static const struct {
	const char *json, *name; /* NULL: none */
} packages[] = {
	{"{\"name\":\"shop\"}", "shop"},
	{"{ \"a\": {\"name\": \"inner\"}, \"name\" : \"outer\" }", "outer"},
	{"{\"a\": [\"name\", {\"name\": \"x\"}]}", NULL},
	{"{\"a\": \"name\", \"name\": \"y\"}", "y"},
	{"{\"a\": \"\\\"name\\\": \\\"z\", \"name\": \"y\"}", "y"},
	{"{\"a\": \"}\", \"name\": \"y\"}", "y"},
	{"{\"name\": 5, \"x\": \"y\"}", NULL},
	{"{\"name\": \"\"}", NULL},
	{"{\"name\": \"cut", NULL},
	{"{\"name\"", NULL},
	{"{\"name\": \"@acme\\/shop\"}", "@acme/shop"},
	{"[\"name\": \"x\"]", "x"},
	{"{\"a\": [[[[[[[[", NULL},
	{"\"name\": \"x\"", NULL},
	{"{\"names\": \"x\", \"name\": \"y\"}", "y"},
	{"{\"namenamenamenamenamename\": \"x\", \"name\": \"y\"}", "y"},
	{"", NULL},
};

static void test_package_json(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(packages); i++) {
		struct str in = exact(packages[i].json, 0, 0);
		char name[IDENTITY_NAME_MAX];
		bool is = package_json_name(in, name, sizeof(name));

		print_message("%s\n", packages[i].json);
		assert_int_equal(is, packages[i].name != NULL);
		if (is)
			assert_string_equal(name, packages[i].name);
		free((char *)in.p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	     cmocka_unit_test(test_runtimes_and_helpers),
		cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_hostile_arguments),
		cmocka_unit_test(test_units),	     cmocka_unit_test(test_env),
		cmocka_unit_test(test_attributes),   cmocka_unit_test(test_attributes_are_bounded),
		cmocka_unit_test(test_package_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
